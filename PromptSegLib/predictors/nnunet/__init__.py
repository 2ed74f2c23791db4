"""nnU-Net's networks that users trained themselves: folders of results of both versions, with plans of their own."""
