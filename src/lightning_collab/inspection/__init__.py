"""Looking inside: projector, map, neighbours and reports."""
