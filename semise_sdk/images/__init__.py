"""From a path, bytes or an array to the uint8 canvas that the network takes, and back to the size of the source."""
