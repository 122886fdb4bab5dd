"""The torch networks, which only the torch backend, training and export import."""
