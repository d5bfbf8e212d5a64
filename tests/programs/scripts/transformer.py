"""A translation-like model with nn.MultiheadAttention, padding masks, sinusoidal positions, weight tying and accumulation."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=32):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, d_model)
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x):
        return x + self.pe[:, : x.size(1)]


class Model(nn.Module):
    def __init__(self, vocab=13, d_model=8, heads=2):
        super().__init__()
        self.embed = nn.Embedding(vocab, d_model, padding_idx=0)
        self.positions = PositionalEncoding(d_model)
        self.self_attention = nn.MultiheadAttention(d_model, heads, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(d_model, heads, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(d_model) for _ in range(2)])
        self.out = nn.Linear(d_model, vocab, bias=False)
        self.out.weight = self.embed.weight
        self.scale = math.sqrt(d_model)

    def forward(self, source, target):
        memory = self.positions(self.embed(source) * self.scale)
        x = self.positions(self.embed(target) * self.scale)
        T = target.shape[1]
        causal = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)
        y, _ = self.self_attention(x, x, x, attn_mask=causal, need_weights=False)
        x = self.norms[0](x + y)
        y, weights = self.cross_attention(x, memory, memory, key_padding_mask=source.eq(0))
        return self.out(self.norms[1](x + y)), weights


def make():
    return Model()


def run(model):
    source = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9], [2, 12, 0, 0]])
    target = torch.tensor([[1, 5, 4, 3, 0], [1, 9, 8, 7, 6], [1, 12, 2, 0, 0]])
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.005, momentum=0.5)
    seen = [len(list(model.parameters()))]
    for step in range(4):
        optimizer.zero_grad()
        for rows in torch.chunk(torch.arange(3), 2):
            logits, weights = model(source[rows], target[rows, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), target[rows, 1:].flatten(), ignore_index=0) / 2
            loss.backward()
            seen.append(loss.item())
        optimizer.step()
        seen += [weights.sum().item(), weights[0, 0, -1].item()]
    return seen
