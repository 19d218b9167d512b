"""Argo CD's controllers as the lab's pods run them: real Git, real kustomize, Argo CD's words."""
