"""From vectors to an order: distance, references, places, differences."""
