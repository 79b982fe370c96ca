"""Backends: what answers a request - a world, an LLM, a recording, a trained model."""
