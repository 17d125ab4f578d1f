"""Analysis: from evaluation samples to statements. Pure functions of frames and arrays: no I/O, no
rendering, no torch.
"""
