"""An open model: its graphs, the stream that decodes, batches and runs, and the answer made for each image."""
