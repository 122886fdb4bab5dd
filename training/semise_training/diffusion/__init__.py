"""Denoising diffusion as a way to learn a representation (SODA, Hudson et al. 2023, arXiv 2311.17901)."""
