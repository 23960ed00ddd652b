"""What each command does with its composed config: one module a command."""
