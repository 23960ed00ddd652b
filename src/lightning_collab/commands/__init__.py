"""What each command does with its composed config: one module a command."""

COMMANDS = (
    "train",
    "find_lr",
    "evaluate",
    "cross_validate",
    "predict",
    "recommend",
    "similar",
    "add_items",
    "map_embeddings",
    "report",
    "export",
    "demo",
)
