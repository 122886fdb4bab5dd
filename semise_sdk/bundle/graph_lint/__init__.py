"""What a graph may hold, checked in its bytes before any engine parses it."""
