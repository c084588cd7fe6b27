"""Exact and approximate nearest neighbours, graphs made of them, class centres, and the greedy engine above both."""
