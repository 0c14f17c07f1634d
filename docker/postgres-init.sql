CREATE DATABASE active_sampler;
