"""The network while it is trained: encoder and heads, the device they run on, and the vectors they give."""
