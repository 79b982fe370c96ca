"""Stages of the pipeline: each turns records of one kind into records of the next."""
