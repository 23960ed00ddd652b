"""Reading what people have: delimited text, JSON lines and Parquet, one file or many."""
