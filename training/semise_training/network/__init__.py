"""The network in training: f, g and h, their device, their vectors."""
