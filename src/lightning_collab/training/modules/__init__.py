"""LightningModules: one for each way in which a model is trained."""
