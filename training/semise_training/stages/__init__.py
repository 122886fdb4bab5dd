"""The stages of training: phase 1, phase 2, the classifier and the U-Net."""
