"""Any encoder or decoder that transformers has: loaded, cut, frozen, trained and saved without a line for a family."""
