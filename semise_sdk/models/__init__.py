"""The torch networks. Protected: only the torch backend, training and export import this package."""
