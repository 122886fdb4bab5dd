"""What people look at: pages, drawings and documents made of answers."""
