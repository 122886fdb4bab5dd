"""From vectors to an order: distance to the reference bank, its interval, ranks, the difference of two images."""
