"""Influence of source classes on transfer: many models on random halves, then removal (Jain et al. 2023).

python -m dataprune +multirun_templates=influence ...     trains the models; every job files its row in one store
python -m dataprune.influence --help                      estimates, orders, plots and questions over that store
"""
