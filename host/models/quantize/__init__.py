"""Weights of 8 and 4 bits: W8A16 and W4A16.

`weights` has the integers and their scales, `reading` takes them from an .onnx file, `checking`
refuses operators on them that break the rules of their definition, `products` gives a graph's
products the one form that all of them have: MatMulNBits of ONNX Runtime.
"""
