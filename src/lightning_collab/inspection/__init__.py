"""Looking inside: projector, map, neighbors and reports."""
