"""The listing that this course grew from, retold: two models with a ``train`` of their own, which hides the one that
every Module has, and two names (``num_epochs`` and the data) that are left to whoever runs it.
"""

import torch
import torch.nn as nn
import torch.optim as optim

num_epochs = 3


class NextWord(nn.Module):
    def __init__(self, vocab_size, embedding_dim, hidden_dim):
        super(NextWord, self).__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, vocab_size)

    def forward(self, x):
        x = self.embedding(x)
        x = self.hidden(x)
        x = self.out(x)
        return x

    def train(self, data, device):
        optimizer = optim.Adam(self.parameters())
        criterion = nn.CrossEntropyLoss()
        losses = []
        for epoch in range(num_epochs):
            for batch in data:
                x, y = batch
                x, y = x.to(device), y.to(device)
                y_hat = self(x)
                loss = criterion(y_hat, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses


class WordsOfALabel(NextWord):
    """Fine-tuning: the label's id stands where the word stood before."""


def make():
    torch.set_default_dtype(torch.float64)
    return nn.ModuleDict({"pretrained": NextWord(12, 6, 8), "finetuned": WordsOfALabel(12, 6, 8)})


def run(models):
    words = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3])
    texts = [(words[i : i + 5], words[i + 1 : i + 6]) for i in (0, 5, 9)]
    labels = [(torch.tensor([10, 10, 10]), words[0:3]), (torch.tensor([11, 11, 11]), words[5:8])]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    losses = models["pretrained"].to(device).train(texts, device)
    models["finetuned"].load_state_dict(models["pretrained"].state_dict())
    return losses + models["finetuned"].to(device).train(labels, device)
