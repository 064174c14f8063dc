"""Networks around the recurrent layers: encoder, heads, sequence to sequence."""
