"""Planning: from a recipe to its graph of stages, and what that graph will cost. Works with torch,
Ray and vLLM absent.
"""
