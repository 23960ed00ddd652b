"""A page on this machine on which one rates items and sees what a run recommends, and why."""
