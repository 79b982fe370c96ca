"""The generalist tool model: tokens, packing, training, decoding. Only this package imports torch."""
