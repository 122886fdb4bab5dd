"""Training of SemiSe encoders, classifiers and U-Nets; writes run folders that evaluation and export read."""
