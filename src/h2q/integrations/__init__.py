"""h2q inside other libraries: a module per library, named after it.

A library is imported when it is used. `faiss.with_rotation` puts a quantizer's rotation in front of a FAISS index,
`pytorch.rotation_layer` makes it a layer of a network, `sentence_transformers.quantize` encodes texts, and
`huggingface.push_to_hub` shares a quantizer.
"""
