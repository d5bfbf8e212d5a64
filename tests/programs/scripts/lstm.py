"""A language model with nn.LSTM, a DataLoader over a TensorDataset, truncated backpropagation, a plateau schedule."""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)


class LSTMModel(nn.Module):
    def __init__(self, vocab, width, hidden, layers):
        super().__init__()
        self.drop = nn.Dropout(p=0.0)
        self.encoder = nn.Embedding(vocab, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, num_layers=layers, batch_first=True)
        self.decoder = nn.Linear(hidden, vocab)
        self.hidden, self.layers = hidden, layers

    def forward(self, x, state):
        y, state = self.lstm(self.drop(self.encoder(x)), state)
        return self.decoder(y), state

    def init_state(self, batch):
        weight = next(self.parameters())
        return (weight.new_zeros(self.layers, batch, self.hidden), weight.new_zeros(self.layers, batch, self.hidden))


def make():
    return LSTMModel(vocab=11, width=6, hidden=7, layers=2)


def run(model):
    ids = torch.arange(4 * 3 * 6).reshape(12, 6).remainder(11)
    data = TensorDataset(ids[:, :-1], ids[:, 1:])
    loader = DataLoader(data, batch_size=4, shuffle=False, drop_last=True)
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    optimizer = optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-4)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    seen = []
    for epoch in range(2):
        state = model.init_state(4)
        total_loss = 0.0
        for batch, (x, y) in enumerate(loader):
            state = tuple(s.detach() for s in state)
            logits, state = model(x, state)
            loss = criterion(logits.transpose(1, 2), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        scheduler.step(total_loss / len(loader))
        seen += [total_loss, optimizer.param_groups[0]["lr"], len(loader)]
    seen.append(torch.exp(torch.tensor(total_loss / len(loader))).item())
    return seen
