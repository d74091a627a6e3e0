"""The localization network, and the bundle file that holds a trained one.

``model.info`` reads the metadata of a bundle without torch; ``model.network`` and ``model.bundle`` need torch.
"""
