"""Reading files as users have them: delimited text, JSON lines and Parquet, one file or many."""
