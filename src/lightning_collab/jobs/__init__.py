"""What each front door does with its composed config: one module for each script."""
