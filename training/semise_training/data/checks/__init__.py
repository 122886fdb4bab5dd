"""What is checked of a data set before anything is trained."""
