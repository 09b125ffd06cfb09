"""Matrix products, in tiles that stay in registers, or by BLAS."""
