"""The stages of training, one module each: phase 1, phase 2, those of compared methods, refit, classifier, U-Net."""
