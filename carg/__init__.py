"""carg: synthesise the world of tools and train a model to simulate it."""

__version__ = "0.1.0"
