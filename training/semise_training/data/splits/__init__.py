"""Splits of whole groups, stratified by severity: training, validation and test parts, or folds."""
