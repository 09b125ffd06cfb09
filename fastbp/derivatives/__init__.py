"""Derivatives other than the gradient by backpropagation: finite differences, perturbations, Jacobians."""
