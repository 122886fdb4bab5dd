"""The check of a manifest and its images before training: files, labels, leakage and near-duplicates."""
