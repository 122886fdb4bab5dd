"""The phantom images of ``semise demo``, and the sheet that shows a ranking of them."""
