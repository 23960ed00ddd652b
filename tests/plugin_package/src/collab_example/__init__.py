"""Parts for lightning-collab that are chosen by name: `lightning-collab train model=distance`."""
