"""The commands, by what they are about; `cli` joins them."""
