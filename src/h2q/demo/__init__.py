"""The main job, whole: real images to embeddings to codes to neighbours, scored and shown beside the baselines."""
