"""The main job, whole: real images to embeddings to codes to neighbors, scored and shown beside the baselines."""
